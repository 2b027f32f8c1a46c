/* A PKCS#11 module for tests: NSS's softokn, which cannot be loaded as one, since it
 * wants a parameter text in a field of its own. The text is KENV_TEST_NSS_PARAMS.
 *
 *   gcc -shared -fPIC -o nss_shim.so nss_shim.c -ldl */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long rv;
struct functions { unsigned char version[2]; void *entry[68]; };
struct arguments { void *mutex[4]; unsigned long flags; char *parameters; void *reserved; };

static struct functions list;
static rv (*initialize)(void *);

static rv start(void *ignored)
{
	struct arguments a = { .flags = 2, .parameters = getenv("KENV_TEST_NSS_PARAMS") };
	return initialize(&a);
}

rv C_GetFunctionList(struct functions **out)
{
	const char *path = getenv("KENV_TEST_NSS_MODULE");
	void *lib = dlopen(path ? path : "libsoftokn3.so", RTLD_LAZY);
	rv (*get)(struct functions **) = lib ? dlsym(lib, "C_GetFunctionList") : NULL;
	struct functions *real;
	if (!get || get(&real))
		return 5; /* CKR_GENERAL_ERROR */
	list = *real;
	initialize = list.entry[0];
	list.entry[0] = start;
	*out = &list;
	return 0;
}
