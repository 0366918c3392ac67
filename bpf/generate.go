package bpf

// The objects are made by clang 14, as Debian 12 has it, and lie beside their sources, so that a build
// needs neither clang nor kernel headers. internal/check-bpf tells whether they match.

//go:generate go tool -modfile=../tools.mod bpf2go -cc clang -cflags "-O2 -g -Wall -Werror -Wno-logical-op-parentheses -Iinclude" -target bpfel,bpfeb xdp xdp.c
//go:generate go tool -modfile=../tools.mod bpf2go -cc clang -cflags "-O2 -g -Wall -Werror -Wno-logical-op-parentheses -Iinclude" -target bpfel,bpfeb tc tc.c
//go:generate go tool -modfile=../tools.mod bpf2go -cc clang -cflags "-O2 -g -Wall -Werror -Wno-logical-op-parentheses -Iinclude" -target bpfel,bpfeb conn conn.c
//go:generate go tool -modfile=../tools.mod bpf2go -cc clang -cflags "-O2 -g -mcpu=v3 -Wall -Werror -Wno-logical-op-parentheses -Iinclude" -target bpfel,bpfeb pass pass.c
//go:generate go tool -modfile=../tools.mod bpf2go -cc clang -cflags "-O2 -g -mcpu=v3 -Wall -Werror -Wno-logical-op-parentheses -Iinclude" -target bpfel,bpfeb accept accept.c
//go:generate go tool -modfile=../tools.mod bpf2go -cc clang -cflags "-O2 -g -mcpu=v3 -Wall -Werror -Wno-logical-op-parentheses -Iinclude" -target bpfel,bpfeb passXdp passxdp.c
