// Package broker gives entries their meaning: exchanges, queues, bindings and messages as a
// deterministic state machine. Members that apply the same entries in the same order hold
// the same state; nothing here reads a clock, a random source or the order of a map.
//
// A session asks its member through Requests and hears through Answers (client.go). What
// changes state is an entry (entry.go): a byte string that is ordered, logged and applied
// on every member.
package broker
