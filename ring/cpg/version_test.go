package cpg_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/ringtest"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

func version(v uint64) func(*cpg.Config) { return func(c *cpg.Config) { c.ConfigVersion = v } }

// outdated tells by which version members are, in their order.
func outdated(all ...*observer) string {
	var list []uint64
	for _, o := range all {
		v, _ := o.Machine.Outdated()
		list = append(list, v)
	}
	return fmt.Sprint(list)
}

// TestOutdated: who first meets others and has an older configuration than one of them hears of it, once;
// others do not, and later rings do not matter.
func TestOutdated(t *testing.T) {
	net := ringtest.New(1)
	one := start(t, net, 1, version(2))
	awaitView(t, net, 1, one)
	if got := outdated(one); got != "[0]" {
		t.Errorf("alone: %s", got)
	}
	two, three := start(t, net, 2, version(2)), start(t, net, 3, version(1))
	awaitView(t, net, 3, one, two, three)
	if got := outdated(one, two, three); got != "[0 0 2]" {
		t.Errorf("%s", got)
	}
	if _, again := three.Machine.Outdated(); again {
		t.Error("it is told again")
	}
	three.Machine.Quit(net.Now())
	three.Do()
	awaitView(t, net, 2, one, two)
	if left := one.last().Left; len(left) != 1 || left[0].Node != 3 {
		t.Errorf("left: %+v", left)
	}
	three.Crash()
	three, four := start(t, net, 3, version(3)), start(t, net, 4)
	awaitView(t, net, 4, one, two, three, four)
	if got := outdated(one, two, three, four); got != "[0 0 0 0]" {
		t.Errorf("one that is newer and one without a version: %s", got)
	}
}

// TestOutdatedAlone: it is the one that was there first, too, if it was alone until then.
func TestOutdatedAlone(t *testing.T) {
	net := ringtest.New(1)
	one := start(t, net, 1, version(2))
	awaitView(t, net, 1, one)
	net.Run(time.Minute)
	two := start(t, net, 2, version(3))
	awaitView(t, net, 2, one, two)
	if got := outdated(one, two); got != "[3 0]" {
		t.Errorf("%s", got)
	}
	net.Partition([]wire.NodeID{1}, []wire.NodeID{2})
	awaitView(t, net, 1, one, two)
	net.Heal()
	awaitView(t, net, 2, one, two)
	if got := outdated(one, two); got != "[0 0]" {
		t.Errorf("again: %s", got)
	}
}
