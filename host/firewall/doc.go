// Package firewall guards a broker's ports with nftables, in a table of its own, and finds what
// other tables of the host drop of what the broker is to get.
//
//	f, err := firewall.Open(firewall.Policy{Table: "qpidd-5672", …}, say)
//	f.SetPeers(addresses)       // as members come and go; the table is replaced in one step
//	f.Close()                   // takes the table away
//
//	list, err := firewall.Obstacles("qpidd-5672", probes)
//
// The table looks like this; what is in it is all that it concerns itself with:
//
//	table inet qpidd-5672 {
//		set peers4 { type ipv4_addr }
//		set peers6 { type ipv6_addr }
//		chain input {
//			type filter hook input priority filter; policy accept;
//			iifname "lo" accept
//			tcp dport 5672 counter accept
//			udp dport 5405 counter jump members
//			tcp dport 5405 counter jump members
//		}
//		chain members {
//			ip saddr @peers4 counter accept
//			ip6 saddr @peers6 counter accept
//			ip saddr 192.168.5.0/24 counter accept
//			counter drop
//		}
//	}
//
// An accept ends this table only: others see the packet, too, and may drop it. That is what
// Obstacles is for. It walks their rules with the packets that matter. Matches of iptables that
// nftables shows without saying what they do are left open, and the verdict says so.
//
// A table that somebody removes or changes is put back, as soon as the kernel tells of it. All
// of this takes CAP_NET_ADMIN, and a kernel from 4.14 on with nf_tables.
package firewall
