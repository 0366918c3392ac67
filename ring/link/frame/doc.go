// Package frame is the bytes around a ring packet where no socket of the kernel's puts them
// there: Ethernet, IPv4 or IPv6, and UDP.
//
//	t := frame.NewTemplate(frame.Route{…})   // once for each destination
//	n := t.Put(header, payloadBytes)         // the checksum of UDP is begun, not finished
//	frame.Finish(header[:n], payload)        // where nobody else finishes it
//
//	p, cause := frame.Parse(bytes, checked)  // what came
//
//	0          14                34 or 54    +8
//	+----------+-----------------+-----------+----------------
//	| Ethernet | IPv4 (no options| UDP       | the ring packet
//	|          | of ours) or IPv6|           |
//	+----------+-----------------+-----------+----------------
//
// It keeps no state but a template's count of packets, and knows nothing of the ring. What it does
// not do: IPv4 options of ours, extension headers of IPv6, fragments. Those are left to the
// kernel's own sockets.
package frame
