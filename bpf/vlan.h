// On TC a VLAN's tag is beside the packet, whose bytes are as without: the kernel, or the card, took it
// off. What has one is of another network, and comes again at the VLAN's own interface, if there is one.
// A tag of VLAN 0 gives a priority, and changes nothing.

#define VLAN_ID 0xfff

static __always_inline int tagged(struct __sk_buff *ctx) { return ctx->vlan_tci & VLAN_ID; }
