#define _GNU_SOURCE /* dladdr */
#include "net/curl.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* The first with CURLOPT_PREREQFUNCTION, which alone shows that libcurl repeats a request. */
#define OLDEST 0x075000u /* 7.80.0 */

#ifdef __APPLE__
static const char *const names[] = {"libcurl.4.dylib", "/usr/lib/libcurl.4.dylib", NULL};
#else
static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4", NULL};
#endif

/* The libcurl of a wheel, which is linked with its extension: a handle on the extension finds its
 * symbols. */
static void *open_linked(void)
{
    Dl_info self; /* any address in the extension finds it */
    if (!dladdr(names, &self) || self.dli_fname == NULL) {
        return NULL;
    }
    void *lib = dlopen(self.dli_fname, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
    if (lib != NULL && dlsym(lib, "curl_multi_socket_action") != NULL) {
        return lib;
    }
    if (lib != NULL) {
        dlclose(lib);
    }
    return NULL;
}

static void *open_library(const char *path)
{
    if (path != NULL) {
        return dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    void *lib = open_linked();
    for (const char *const *name = names; lib == NULL && *name != NULL; name++) {
        lib = dlopen(*name, RTLD_NOW | RTLD_LOCAL);
    }
    return lib;
}

int xf_curl_load(xf_curl *curl, const char *path, char *why, size_t why_size)
{
    void *lib = open_library(path);
    if (lib == NULL) {
        if (path != NULL) {
            snprintf(why, why_size, "cannot load libcurl: %s", dlerror());
        } else {
            snprintf(why, why_size, "libcurl was not found");
        }
        return -1;
    }
    const struct {
        const char *name;
        void *slot;
    } symbols[] = {
        {"curl_global_init", &curl->global_init},
        {"curl_version_info", &curl->version_info},
        {"curl_easy_strerror", &curl->easy_strerror},
        {"curl_easy_init", &curl->easy_init},
        {"curl_easy_cleanup", &curl->easy_cleanup},
        {"curl_easy_setopt", &curl->easy_setopt},
        {"curl_easy_getinfo", &curl->easy_getinfo},
        {"curl_easy_pause", &curl->easy_pause},
        {"curl_multi_init", &curl->multi_init},
        {"curl_multi_cleanup", &curl->multi_cleanup},
        {"curl_multi_setopt", &curl->multi_setopt},
        {"curl_multi_add_handle", &curl->multi_add_handle},
        {"curl_multi_remove_handle", &curl->multi_remove_handle},
        {"curl_multi_assign", &curl->multi_assign},
        {"curl_multi_socket_action", &curl->multi_socket_action},
        {"curl_multi_info_read", &curl->multi_info_read},
    };
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *symbol = dlsym(lib, symbols[i].name);
        if (symbol == NULL) {
            snprintf(why, why_size, "%s lacks %s", path != NULL ? path : "libcurl",
                     symbols[i].name);
            return -1;
        }
        memcpy(symbols[i].slot, &symbol, sizeof symbol);
    }
    curl->version = curl->version_info(0);
    if (curl->version->version_num < OLDEST) {
        snprintf(why, why_size, "libcurl is %s, the oldest supported is 7.80.0",
                 curl->version->version);
        return -1;
    }
    /* Before 7.84 this is not safe in threads, and several interpreters may come here at once. */
    static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&one_at_a_time);
    int started = curl->global_init(CURL_GLOBAL_ALL);
    pthread_mutex_unlock(&one_at_a_time);
    if (started != CURL_OK) {
        snprintf(why, why_size, "libcurl failed to start");
        return -1;
    }
    if (!xf_zlib_load(&curl->zlib, lib)) {
        curl->zlib = (xf_zlib){0};
    }
    return 0;
}
