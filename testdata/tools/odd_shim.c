/* A PKCS#11 module for tests that stands before another, KENV_TEST_ODD_MODULE, and
 * makes it odd: KENV_TEST_ODD_FLAGS are added to what C_GetTokenInfo says, and
 * C_Decrypt takes KENV_TEST_ODD_SECONDS.
 *
 *   gcc -shared -fPIC -o odd_shim.so odd_shim.c -ldl */
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

typedef unsigned long rv;
struct functions { unsigned char version[2]; void *entry[68]; };
struct token { unsigned char texts[32 + 32 + 16 + 16]; unsigned long flags; };
enum { GetTokenInfo = 6, Decrypt = 34 }; /* places in the function list */

static struct functions list;
static rv (*info)(unsigned long, struct token *);
static rv (*decrypt)(unsigned long, void *, unsigned long, void *, unsigned long *);

static unsigned long number(const char *name)
{
	const char *text = getenv(name);
	return text ? strtoul(text, NULL, 0) : 0;
}

static rv odd_info(unsigned long slot, struct token *t)
{
	rv r = info(slot, t);
	t->flags |= number("KENV_TEST_ODD_FLAGS");
	return r;
}

static rv odd_decrypt(unsigned long session, void *in, unsigned long n, void *out, unsigned long *m)
{
	sleep(number("KENV_TEST_ODD_SECONDS"));
	return decrypt(session, in, n, out, m);
}

rv C_GetFunctionList(struct functions **out)
{
	const char *path = getenv("KENV_TEST_ODD_MODULE");
	void *lib = path ? dlopen(path, RTLD_LAZY) : NULL;
	rv (*get)(struct functions **) = lib ? dlsym(lib, "C_GetFunctionList") : NULL;
	struct functions *real;
	if (!get || get(&real))
		return 5; /* CKR_GENERAL_ERROR */
	list = *real;
	info = list.entry[GetTokenInfo];
	list.entry[GetTokenInfo] = odd_info;
	decrypt = list.entry[Decrypt];
	list.entry[Decrypt] = odd_decrypt;
	*out = &list;
	return 0;
}
