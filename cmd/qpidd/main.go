// Command qpidd is the broker.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
	"time"

	qpidd "github.com/qpidd-cluster/qpidd-cluster/daemon"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/doctor"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/logging"
)

func main() {
	if err := run(); err != nil {
		if !qpidd.IsDaemon() { // a daemon's parent says it
			fmt.Fprintln(os.Stderr, "qpidd: "+err.Error())
		}
		os.Exit(qpidd.ExitStatus(err))
	}
}

func run() error {
	o, err := config.Load(os.Args[1:], os.Environ())
	if errors.Is(err, config.ErrHelp) {
		fmt.Print(config.Usage())
		return nil
	}
	if err != nil {
		return qpidd.Explain(err)
	}
	switch {
	case o.Version:
		fmt.Println("qpidd (qpidd-cluster) version " + qpidd.Version)
		return nil
	case o.Check:
		return qpidd.Check(o)
	case o.Quit:
		return qpidd.Quit(o)
	case o.Daemon && !qpidd.IsDaemon():
		return qpidd.Daemonize(o)
	}
	if err := serve(o); err != nil {
		return qpidd.ReportFailure(qpidd.Explain(err))
	}
	return nil
}

// serve is a broker's life, from start to SIGTERM.
func serve(o *config.Options) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	signal.Ignore(syscall.SIGPIPE)
	log, err := logging.Open(o.Log)
	if err != nil {
		return err
	}
	defer log.Close()
	if o.CPUProfile != "" {
		f, err := os.Create(o.CPUProfile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	b, err := qpidd.Start(o, log)
	if err != nil {
		if !o.Log.OnStderr() { // where it will be said anyway
			log.For("Broker").Log(context.Background(), logging.Critical, err.Error())
		}
		return err
	}
	b.ExaminedBy(func() (json.RawMessage, error) { return doctor.Own(o.ConfigFile, os.Args[1:]) })
	service := qpidd.Serve(b)
	again := func() {
		service.Reload(func() {
			b.Reload(func() (*config.Options, error) { return config.Load(os.Args[1:], os.Environ()) }, log)
		})
	}
	if in, err := become(b, stop, reload, again); !in {
		return err
	}
	pid, err := qpidd.WritePid(o, b.Port())
	if err != nil {
		b.Stop()
		return err
	}
	defer pid.Remove()
	if err := qpidd.ReportReady(o, b.Port()); err != nil {
		b.Stop() // whoever started it is gone
		return err
	}
	for {
		select {
		case <-reload:
			again()
			continue
		case err = <-b.Failed():
			log.For("Broker").Log(context.Background(), logging.Critical, "unexpected end: "+err.Error())
		case s := <-stop:
			log.For("Broker").Log(context.Background(), logging.Notice, "shutting down on "+s.String())
		}
		service.Stopping()
		b.Stop()
		return err
	}
}

// become waits until a broker is a member, or is to be none.
func become(b *qpidd.Broker, stop, reload <-chan os.Signal, again func()) (member bool, err error) {
	told := 0
	late := time.NewTimer(qpidd.TellAfter(told))
	defer late.Stop()
	for {
		select {
		case <-b.Member():
			return true, nil
		case <-late.C:
			b.TellWaiting()
			told++
			late.Reset(qpidd.TellAfter(told))
		case <-reload:
			again()
		case err := <-b.Failed():
			b.Stop() // what was set up is taken back
			return false, err
		case <-stop:
			b.Stop()
			return false, nil
		}
	}
}
