#include <linux/bpf.h>
#define IPPROTO_UDP 17
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
