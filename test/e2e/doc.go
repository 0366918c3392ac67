// Package e2e runs whole brokers as processes, and foreign clients against them. Its tests
// take a minute or so; -short leaves them out. All traffic stays on the loopback interface.
//
// Package harness starts, kills and watches brokers; package clients has the clients.
package e2e
