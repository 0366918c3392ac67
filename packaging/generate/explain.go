package main

// section is some options that belong together, in the order in which they are explained.
type section struct {
	title string
	about string // before its options, if there is something to say
	list  []explanation
}

// explanation is what there is to say of an option beyond its help. An option without one is
// shown with its help, in the last section.
type explanation struct {
	name    string
	text    string
	example string // what the configuration file shows where there is no default
	active  string // what the packaged configuration sets it to
}

// commandLine are the options that a configuration file has no use for.
var commandLine = []string{"config", "version", "daemon", "check", "quit", "wait", "pid-dir", "pidfile", "cpu-profile", "trace"}

var sections = []section{
	{"The cluster", "Without a name a broker stands alone. Brokers with the same name, in the same network, find each other and are one.", []explanation{
		{"cluster-name", "Give each cluster of a network a name of its own.", "", "qpidd"},
		{"cluster-size", "Without it the members of the last view that had a quorum count. Set it where a network may part while members start.", "3", ""},
		{"cluster-url", "What clients are told to reach this member at, where its own addresses are of no use to them, as behind address translation.", "broker1.example.com:5672", ""},
		{"mesh-port", "They do for state transfers and assignments. A fixed one is what other firewalls on this host have to open. Several brokers of a host need one each.", "", "5405"},
	}},
	{"The ring", "Where /etc/corosync/corosync.conf, /etc/corosync.conf or /etc/ais/openais.conf is there, it says all this; the options here come before it.", []explanation{
		{"bindnetaddr", "All members of a network can have the latter. Needed where the interface of the default route is not the ring's.", "192.168.5.0", ""},
		{"mcastaddr", "The same for all members. Without it the address follows from the cluster's name.", "239.192.5.1", ""},
		{"mcastport", "The same for all members.", "", ""},
		{"token", "A member that is silent for so long, and of whose death there is no evidence, is left behind. Too short a time lets members fall out that were only busy.", "3s", ""},
		{"ring-config", "Another file than those named above; empty: none of them counts.", "/etc/corosync/corosync.conf", ""},
		{"firewall", "With auto the broker has an nftables table of its own: at the ring's ports it lets members and the ring's network only. It is gone when the broker is. What other tables drop, the log names, with the command that opens it.", "", ""},
		{"ring-provider", "With corosync the broker uses the corosync that runs on this host, which then has to admit group qpidd: see qpid-cluster doctor.", "", ""},
	}},
	{"Clients", "", []explanation{
		{"port", "The TCP port for clients, AMQP 1.0 and 0-9-1 alike. Where qpidd.socket is enabled its port counts.", "", ""},
		{"interface", "Listen on this address only. Give the option again for each further one; without it all are listened on.", "192.168.5.7", ""},
		{"auth", "Clients have to give the name and password of a user. The first one is added by qpid-cluster user add NAME; without any nobody can connect. With no, anybody can do everything.", "", ""},
		{"users-file", "Where the users are, if not in the data directory.", "/etc/qpid/qpidd.users", ""},
		{"max-connections", "", "", ""},
		{"connection-rate", "What is beyond is not answered, and comes again a second later. See docs/operating/datapath.md.", "100", ""},
		{"acceptors", "For brokers to which very many clients connect at once. Linux 5.14 gives each acceptor as many connections as the others, and those of one that stops to the others; elsewhere chance spreads them.", "4", ""},
		{"max-negotiate-time", "Who has not opened a connection by then is cut off.", "", ""},
		{"max-frame-size", "", "", ""},
		{"max-message-size", "", "", ""},
		{"tcp-nodelay", "", "", ""},
	}},
	{"Data and resources", "", []explanation{
		{"data-dir", "Without it the service keeps its data in /var/lib/qpidd, of qpidd@NAME.service in /var/lib/qpidd-NAME. The service may write to no other directory unless a drop-in allows it: ReadWritePaths= (systemctl edit qpidd).", "/var/lib/qpidd", ""},
		{"no-data-dir", "", "", ""},
		{"store-dir", "A disk of its own is worth most here. Another place than the data directory has to be allowed to the service, as that one.", "/srv/qpidd", ""},
		{"sync", "Majority survives the loss of power of all members at once, if most of their disks do.", "", ""},
		{"truncate", "For once: set it, start the broker, and take it out again.", "", ""},
		{"store-dir", "The journal is in a directory of that name below it. It should be on a disk of its own if there is one, and never on one that two brokers share.", "/var/lib/qpidd", ""},
		{"sync", "With none a durable message is written all the same, but not waited for.", "", ""},
		{"truncate", "Remove it again afterwards: each start discards what there is.", "", ""},
		{"memory-limit", "Publishers are refused beyond, until consumers have caught up. A number of bytes, or one that ends in k, M or G.", "4G", ""},
		{"worker-threads", "", "", ""},
	}},
	{"Metrics", "", []explanation{
		{"metrics-listen", "Without an address all are listened on. What is shown is in docs/operating/metrics.md. With SELinux give the port its type: semanage port -a -t amqp_port_t -p tcp 9419.", "127.0.0.1:9419", ""},
	}},
	{"The log", "Levels are trace, debug, info, notice, warning, error and critical; a + behind one means it and those above it, a - those below. Categories are Broker, Cluster, Network, Security and others. The service logs to the system's journal: journalctl -u qpidd. These options are followed upon systemctl reload qpidd.", []explanation{
		{"log-enable", "The first rule that is given takes the place of the default.", "", ""},
		{"log-disable", "What is not logged although a log-enable matches it.", "debug-:Network", ""},
		{"log-output", "A file has to be in /var/log/qpidd, where it is rotated, too.", "/var/log/qpidd/qpidd.log", ""},
		{"log-to-file", "The same as log-output with a file.", "/var/log/qpidd/qpidd.log", ""},
		{"log-to-stderr", "", "", ""},
		{"log-to-stdout", "", "", ""},
		{"log-to-journald", "", "", ""},
		{"log-time", "", "", ""},
		{"log-level", "", "", ""},
		{"log-category", "", "", ""},
		{"log-hires-timestamp", "", "", ""},
		{"log-prefix", "", "broker1", ""},
	}},
}
