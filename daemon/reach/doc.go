// Package reach says what a member of a ring has to get from others, and from where: to the
// firewall, which is to let that in and nothing else, and to whoever looks for what is in the way.
package reach
