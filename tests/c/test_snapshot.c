/* A state that many replace: none is lost, none is half a one. */
#include "harness.h"

#include "core/snapshot.h"

static uint64_t words[XF_SNAPSHOT_WORDS];

static void *memory(void)
{
    void *m = calloc(1, xf_snapshot_size());
    CHECK(m != NULL);
    return m;
}

TEST(memory_of_zeros_has_no_state)
{
    void *m = memory();
    size_t n = 1;
    CHECK_EQ(xf_snapshot_head(m), 0);
    CHECK(xf_snapshot_read(m, 0, words, &n));
    CHECK_EQ(n, 0);
    free(m);
}

TEST(what_is_swung_is_what_is_read)
{
    void *m = memory();
    uint64_t head = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        uint32_t member = (uint32_t)draw(XF_SNAPSHOT_MEMBERS);
        const uint64_t written[] = {i, ~i, i * i};
        size_t n, length = 1 + draw(3);
        CHECK(xf_snapshot_swing(m, &head, member, written, length));
        CHECK_EQ(xf_snapshot_head(m), head);
        CHECK(xf_snapshot_read(m, head, words, &n));
        CHECK_EQ(n, length);
        CHECK(memcmp(words, written, n * sizeof(*words)) == 0);
    }
    free(m);
}

TEST(who_was_slower_has_changed_nothing)
{
    void *m = memory();
    uint64_t mine = 0, theirs = 0, old, word = 1;
    size_t n;
    CHECK(xf_snapshot_swing(m, &mine, 0, &word, 1));
    theirs = old = mine;
    word = 2;
    CHECK(xf_snapshot_swing(m, &theirs, 1, &word, 1));
    word = 3;
    CHECK(!xf_snapshot_swing(m, &mine, 0, &word, 1));
    CHECK_EQ(mine, old);
    CHECK(!xf_snapshot_read(m, old, words, &n));
    CHECK(xf_snapshot_read(m, theirs, words, &n));
    CHECK_EQ(words[0], 2);
    free(m);
}

/* A member that is stopped, or killed, while it writes has written into a block that is nobody's
   state: whatever is there, the state is whole. */
TEST(what_a_member_was_writing_when_it_died_is_nobodys_state)
{
    void *m = memory();
    uint64_t head = 0, state[20];
    size_t n, block = XF_SNAPSHOT_WORDS * sizeof(uint64_t);
    for (uint64_t i = 0; i < 2000; i++) {
        uint32_t member = (uint32_t)draw(4);
        for (size_t k = 0; k < 20; k++) {
            state[k] = i;
        }
        CHECK(xf_snapshot_swing(m, &head, member, state, 20));
        for (uint32_t dying = 0; dying < 4; dying++) {
            for (uint64_t b = 0; b < 2; b++) {
                uint64_t *words_of = (void *)((char *)m + xf_snapshot_offset(dying) + b * block);
                if ((head & 0xffff) != 2 * dying + b) {
                    words_of[draw(21)] = draw(UINT64_MAX);
                }
            }
        }
        CHECK(xf_snapshot_read(m, head, words, &n));
        CHECK_EQ(n, 20);
        CHECK(memcmp(words, state, sizeof(state)) == 0);
    }
    free(m);
}

TEST(a_head_or_length_that_is_nonsense_is_no_state)
{
    void *m = memory();
    uint64_t head = 0, word = 1;
    size_t n;
    CHECK(xf_snapshot_swing(m, &head, XF_SNAPSHOT_MEMBERS - 1, &word, 1));
    *(uint64_t *)m = UINT64_MAX;
    CHECK(xf_snapshot_read(m, UINT64_MAX, words, &n));
    CHECK_EQ(n, 0);
    *(uint64_t *)m = head;
    *(uint64_t *)((char *)m + xf_snapshot_offset(XF_SNAPSHOT_MEMBERS - 1)) = UINT64_MAX;
    CHECK(xf_snapshot_read(m, head, words, &n));
    CHECK_EQ(n, 0);
    free(m);
}

TEST(all_say_what_the_first_has_said)
{
    void *m = memory();
    CHECK(xf_snapshot_agree(m, 2));
    CHECK(!xf_snapshot_agree(m, 1));
    CHECK(xf_snapshot_agree(m, 2));
    free(m);
}

TEST(each_tells_of_itself)
{
    void *m = memory();
    for (uint32_t i = 0; i < XF_SNAPSHOT_MEMBERS; i++) {
        xf_snapshot_tell(m, i, 0, i);
        xf_snapshot_tell(m, i, XF_SNAPSHOT_CELL - 1, i + 1);
    }
    for (uint32_t i = 0; i < XF_SNAPSHOT_MEMBERS; i++) {
        CHECK_EQ(xf_snapshot_told(m, i, 0), i);
        CHECK_EQ(xf_snapshot_told(m, i, XF_SNAPSHOT_CELL - 1), i + 1);
    }
    CHECK_EQ(xf_snapshot_offset(XF_SNAPSHOT_MEMBERS), xf_snapshot_size());
    free(m);
}

TEST_MAIN
