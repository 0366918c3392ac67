package clients

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// Everywhere declares on one broker, publishes on another and consumes on the third, for
// every pair of clients. Turning the brokers with the pairs has every client do each of the
// three on every broker.
func Everywhere(t *testing.T, list []Client) {
	c := harness.Start(t, 3)
	for i, publisher := range list {
		for j, consumer := range list {
			t.Run(publisher.Name()+" to "+consumer.Name(), func(t *testing.T) {
				// i+2*j takes all values for a client in either place.
				at := func(k int) int { return c.Brokers[(i+2*j+k)%len(c.Brokers)].Port }
				pair(t, publisher, consumer, at, fmt.Sprintf("interop-%d-%d", i, j))
			})
		}
	}
}

func pair(t *testing.T, publisher, consumer Client, at func(int) int, queue string) {
	const count = 20
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
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
}
