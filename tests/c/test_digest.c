/* Rolling digests of a text. */
#include "fixture.h"

#include "core/digest.h"

TEST(a_digest_stands_for_what_came_before_too)
{
    uint64_t a = xf_digest(0, "a", 1), b = xf_digest(0, "b", 1);
    CHECK(a != b);
    CHECK(xf_digest(a, "c", 1) != xf_digest(b, "c", 1));
    CHECK(xf_digest(a, "c", 1) != xf_digest(0, "c", 1));
    CHECK(xf_digest(a, "c", 1) == xf_digest(xf_digest(0, "a", 1), "c", 1));
}

TEST(each_byte_counts_and_so_does_their_number)
{
    char text[20] = {0};
    for (size_t size = 0; size < sizeof text; size++) {
        uint64_t whole = xf_digest(0, text, size);
        CHECK(whole != xf_digest(0, text, size + 1 < sizeof text ? size + 1 : 0));
        for (size_t i = 0; i < size; i++) {
            text[i] = 1;
            CHECK(whole != xf_digest(0, text, size));
            text[i] = 0;
        }
    }
}

TEST_MAIN
