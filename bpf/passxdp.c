//go:build ignore

// The guard and the steer that pass the token on, too: an interface has one XDP program.

#define TOKEN_PASS
#include "xdp.c"
