// The kernel's <linux/types.h> wants this of the machine that it is for. BPF's integers are those of any
// 64-bit machine.
#include <asm-generic/int-ll64.h>
