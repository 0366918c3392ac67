package conf

import "strings"

// sections are those that corosync or one of its forerunners has. The text says why one has no
// effect here; of those nothing else is looked at.
var sections = map[string]string{
	"totem":                    "",
	"totem.interface":          "",
	"totem.interface.member":   "",
	"nodelist":                 "",
	"nodelist.node":            "",
	"quorum":                   "",
	"quorum.device":            "",
	"quorum.device.net":        "the broker speaks to no quorum device",
	"quorum.device.disk":       "the broker speaks to no quorum device",
	"quorum.device.heuristics": "the broker speaks to no quorum device",
	"logging":                  "",
	"logging.logger":           "openais had it, it has no effect",
	"logging.logger_subsys":    "",
	"logging.logging_daemon":   "",
	"uidgid":                   "",

	"system":    "it concerns corosync's own process, and has no effect on the broker",
	"resources": "it concerns corosync's own process, and has no effect on the broker",
	"nozzle":    "the broker makes no network device, it has no effect",
	"pload":     "it is a load test of corosync's, and has no effect",
	"amf":       "the broker has no availability management framework, it has no effect",
	"event":     "the broker has no event service of openais, it has no effect",
	"aisexec":   "the broker's user is that which starts it, it has no effect",
	"service":   "the broker loads no plug-ins of corosync's, it has no effect",
}

// concerns says of sections that are read what they are about, if that is not the broker.
var concerns = map[string]string{
	"logging": "it concerns corosync's log; the broker's has options of its own (--log-enable and others)",
	"uidgid":  "it says who may use a running corosync, and has no effect on a ring of the broker's own",
}

// opaque tells whether nothing is looked at of a section: it has no effect, or is not known.
func opaque(section string) bool {
	idle, ok := sections[section]
	return section != "" && (!ok || idle != "")
}

func parent(path string) string { return path[:max(strings.LastIndexByte(path, '.'), 0)] }

// last is the last part of a path.
func last(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }
