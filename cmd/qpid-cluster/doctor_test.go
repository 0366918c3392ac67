package main

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/doctor"
)

// TestDoctorByHand: where nothing is installed, a broker that is started by hand needs neither a
// configuration file nor the service's user.
func TestDoctorByHand(t *testing.T) {
	if doctor.Installed() {
		t.Skip("the service is installed here")
	}
	if _, err := os.Stat(config.DefaultFile); err == nil {
		t.Skip("there is a " + config.DefaultFile)
	}
	out, err := run(newDoctorCommand(), "", "--json", "--listen=0", "--", "--cluster-name=X", "--ring-config=", "--bindnetaddr=127.0.0.1", "--port=0")
	var list []doctor.Finding
	if e := json.Unmarshal([]byte(out), &list); e != nil {
		t.Fatalf("%v: %s", e, out)
	}
	if err != nil {
		t.Error(err)
	}
	for _, f := range list {
		if f.Verdict == doctor.Error || f.Check == "interface" && f.Verdict != doctor.Warning {
			t.Errorf("%s: %s: %s", f.Check, f.Verdict, f.Evidence)
		}
	}
}
