// Command qpidd is the broker.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"

	qpidd "github.com/qpidd-cluster/qpidd-cluster/daemon"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/logging"
)

func main() {
	if err := run(); err != nil {
		if !qpidd.IsDaemon() { // a daemon's parent says it
			fmt.Fprintln(os.Stderr, "qpidd: "+err.Error())
		}
		os.Exit(1)
	}
}

func run() error {
	o, err := config.Load(os.Args[1:], os.Environ())
	if errors.Is(err, config.ErrHelp) {
		fmt.Print(config.Usage())
		return nil
	}
	if err != nil {
		return err
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
		return qpidd.ReportFailure(err)
	}
	return nil
}

// serve is a broker's life, from start to SIGTERM.
func serve(o *config.Options) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
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
	select {
	case <-b.Member():
	case err := <-b.Failed():
		return err
	case <-stop:
		b.Stop()
		return nil
	}
	pid, err := qpidd.WritePid(o, b.Port())
	if err != nil {
		b.Stop()
		return err
	}
	defer pid.Remove()
	if err := qpidd.ReportReady(o, b.Port()); err != nil {
		return err
	}
	// Without a service manager there is nobody to notify, which is no error.
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
	select {
	case err = <-b.Failed():
		log.For("Broker").Log(context.Background(), logging.Critical, "unexpected end: "+err.Error())
	case s := <-stop:
		log.For("Broker").Log(context.Background(), logging.Notice, "shutting down on "+s.String())
	}
	_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
	b.Stop()
	return err
}
