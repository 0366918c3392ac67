package main

import "testing"

func TestMiddle(t *testing.T) {
	for _, x := range []struct {
		list []float64
		want float64
	}{
		{[]float64{7}, 7},
		{[]float64{9, 1}, 5},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 9, 1, 2}, 3},
	} {
		if got := middle(x.list); got != x.want {
			t.Errorf("the middle of %v is %v, expected %v", x.list, got, x.want)
		}
	}
}
