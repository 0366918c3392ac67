package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/clients"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// TestEveryClientEverywhere declares on one broker, publishes on another and consumes on
// the third, for every pair of clients. Turning the brokers with the pairs has every client
// do each of the three on every broker.
func TestEveryClientEverywhere(t *testing.T) {
	if testing.Short() {
		t.Skip("starts brokers and many clients")
	}
	list := clients.Available(t)
	c := harness.Start(t, 3)
	const members, count = 3, 20
	for i, publisher := range list {
		for j, consumer := range list {
			t.Run(publisher.Name()+" to "+consumer.Name(), func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				// i+2*j takes all values for a client in either place.
				at := func(k int) int { return c.Brokers[(i+2*j+k)%members].Port }
				queue := fmt.Sprintf("interop-%d-%d", i, j)
				want := []string{}
				for n := range count {
					want = append(want, fmt.Sprintf("%s-%d", queue, n))
				}
				if err := consumer.Declare(ctx, at(0), queue); err != nil {
					t.Fatal(err)
				}
				if err := publisher.Publish(ctx, at(1), queue, want...); err != nil {
					t.Fatal(err)
				}
				got, err := consumer.Consume(ctx, at(2), queue, count)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(got, want) {
					t.Errorf("got %v", got)
				}
			})
		}
	}
}
