// Package e2e runs whole brokers as processes, and Go clients against them. -short leaves its
// tests out. All traffic stays on the loopback interface.
//
// Package harness starts, kills and watches brokers; package load keeps clients going and
// counts what they see; package clients has clients of other makers; package privileged has
// the tests that take root or more time.
package e2e
