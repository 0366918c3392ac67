// Ringload is a member of a ring of ours that does nothing but put load on it, and cpgload
// (cpgload/cpgload.c) the same for a corosync group, so that both are measured alike.
//
//	ringload -node N -address A -mcastaddr G  MEMBERS flood SIZE WARM MEASURE SENDING
//	ringload …                                MEMBERS latency SIZE WARM INTERVAL COUNT
//	ringload …                                MEMBERS watch SIZE 0 0 0
//	ringload …                                MEMBERS follow SIZE 0 0 COUNT
//	ringload …                                MEMBERS raw SIZE WARM MEASURE SENDING
//	ringload …                                MEMBERS foreign SIZE WARM MEASURE RATE
//
// Times are in nanoseconds. Each waits until the group has so many members; a latency is that
// of the own messages, from before they are given to the ring until they are delivered, or safe. follow takes
// COUNT messages, and COUNT more of which it tells what the token's visits took, and stays. raw
// sends packets over the link without any protocol, as fast as it takes them; foreign sends frames
// that are no ring's packets, so many a second. Printed are
// "begin" and "end" with the figures as JSON where a measurement begins and ends, and by watch
// a line for each view: its members and CLOCK_MONOTONIC.
package main
