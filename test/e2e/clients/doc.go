// Package clients has AMQP clients that are not ours, behind one small interface: Go
// packages, and programs for node and Python in the directories of these names.
//
// The node clients are installed by npm ci, as package-lock.json has them, into the user's
// cache directory. The Python clients use Debian's packages python3-qpid-proton and
// python3-pika; test/e2e/install-clients installs all of them. Where one is missing it is
// left out, and the test says what to install; in continuous integration it fails instead.
package clients
