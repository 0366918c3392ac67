// Package appliance tests the packages where they are meant to be: on hosts with systemd, which
// are containers of systemd-nspawn on a network of their own. They are installed with apt and
// dnf, started by systemctl, and then disturbed.
//
// A container is a copy of a Debian that the script base makes once and keeps. For what containers
// cannot show, as SELinux, guest-image makes of the same Debian a disk that emulated machines boot
// from; what they do and report is guest-test, and, with policies that lack something each (the file
// denials), guest-denied. Those tests take minutes: make test-vm.
package appliance
