package conf

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

const (
	maxU8  = math.MaxUint8
	maxU16 = math.MaxUint16
	maxU32 = math.MaxUint32
)

// Limits of the ring's own where they are narrower than corosync's, which are 32 bits.
const (
	minNetMTU    = 256
	maxNetMTU    = 65536
	maxWindow    = 4096
	maxRotations = 1 << 30
	// maxVotes keeps sums of votes small; corosync has no limit.
	maxVotes = 1 << 16
)

// directive is one that is known.
type directive struct {
	set  setter
	idle string // why it has no effect
}

// Why directives have no effect.
const (
	elsewhere = "accepted, and without effect here"
	rrp       = "accepted, and without effect: redundant rings are gone since corosync 3"
	old       = "accepted, and without effect: gone since corosync 2"
)

// table is every directive by its path.
func (p *parser) table() map[string]directive {
	t := map[string]directive{"compatibility": {ignored, old}}
	maps.Copy(t, p.totem())
	maps.Copy(t, p.timers())
	maps.Copy(t, p.security())
	maps.Copy(t, p.knet())
	maps.Copy(t, p.interfaces())
	maps.Copy(t, p.nodes())
	maps.Copy(t, p.quorum())
	maps.Copy(t, p.logging())
	for _, name := range []string{"mode", "problem_count_timeout", "problem_count_threshold",
		"problem_count_mcast_threshold", "token_expired_timeout", "autorecovery_check_timeout"} {
		t["totem.rrp_"+name] = directive{ignored, rrp}
	}
	return t
}

func (p *parser) totem() map[string]directive {
	t := &p.c.Totem
	return map[string]directive{
		"totem.version":             {number(maxU32, &t.Version), ""},
		"totem.cluster_name":        {text(&t.ClusterName), ""},
		"totem.config_version":      {p.configVersion, ""},
		"totem.transport":           {p.transport, ""},
		"totem.nodeid":              {id(&t.NodeID), ""},
		"totem.clear_node_high_bit": {p.yesNo(&t.ClearNodeHighBit), ""},
		"totem.netmtu":              {rangeOf(minNetMTU, maxNetMTU, &t.NetMTU), ""},
		"totem.ip_version":          {choice(&t.IPVersion, "ipv4", "ipv6", "ipv4-6", "ipv6-4"), ""},
		"totem.ip_dscp":             {ignored, elsewhere},
		"totem.threads":             {ignored, elsewhere},
		"totem.vsftype":             {ignored, old},

		"totem.window_size":                     {rangeOf(1, maxWindow, &t.WindowSize), ""},
		"totem.max_messages":                    {rangeOf(1, maxWindow, &t.MaxMessages), ""},
		"totem.miss_count_const":                {rangeOf(1, maxU8, &t.MissCountConst), ""},
		"totem.fail_recv_const":                 {rangeOf(1, maxRotations, &t.FailRecvConst), ""},
		"totem.seqno_unchanged_const":           {rangeOf(1, maxRotations, &t.SeqnoUnchangedConst), ""},
		"totem.heartbeat_failures_allowed":      {number(maxU32, &t.HeartbeatFailuresAllowed), ""},
		"totem.cancel_token_hold_on_retransmit": {p.yesNo(&t.CancelTokenHoldOnRetransmit), ""},
	}
}

func (p *parser) timers() map[string]directive {
	t := &p.c.Totem
	return map[string]directive{
		"totem.token":                               {millis(&t.Token), ""},
		"totem.token_coefficient":                   {zeroMillis(&t.TokenCoefficient), ""},
		"totem.token_retransmit":                    {millis(&t.TokenRetransmit), ""},
		"totem.token_retransmits_before_loss_const": {rangeOf(1, maxRotations, &t.TokenRetransmitsBeforeLoss), ""},
		"totem.token_warning":                       {number(100, &t.TokenWarning), ""},
		"totem.hold":                                {millis(&t.Hold), ""},
		"totem.join":                                {millis(&t.Join), ""},
		"totem.send_join":                           {zeroMillis(&t.SendJoin), ""},
		"totem.consensus":                           {millis(&t.Consensus), ""},
		"totem.merge":                               {millis(&t.Merge), ""},
		"totem.downcheck":                           {millis(&t.Downcheck), ""},
		"totem.max_network_delay":                   {millis(&t.MaxNetworkDelay), ""},
	}
}

func (p *parser) security() map[string]directive {
	c := &p.c.Totem.Crypto
	return map[string]directive{
		"totem.secauth":            {p.setSecauth, ""},
		"totem.crypto_model":       {choice(&c.Model, "nss", "openssl", "gcrypt"), ""},
		"totem.crypto_cipher":      {choice(&c.Cipher, "none", "aes256", "aes192", "aes128"), ""},
		"totem.crypto_hash":        {choice(&c.Hash, "none", "md5", "sha1", "sha256", "sha384", "sha512"), ""},
		"totem.keyfile":            {text(&c.KeyFile), ""},
		"totem.key":                {text(&c.Key), ""},
		"totem.block_unlisted_ips": {p.yesNo(&p.c.Totem.BlockUnlistedIPs), ""},
	}
}

func (p *parser) knet() map[string]directive {
	t, i := &p.c.Totem, &p.iface
	return map[string]directive{
		"totem.link_mode":                     {choice(&t.LinkMode, "passive", "active", "rr"), ""},
		"totem.knet_pmtud_interval":           {seconds(&t.KnetPMTUDInterval), ""},
		"totem.knet_mtu":                      {number(maxU32, &t.KnetMTU), ""},
		"totem.knet_compression_model":        {text(&t.KnetCompressionModel), ""},
		"totem.knet_compression_threshold":    {rangeOf(1, maxU32, &t.KnetCompressionThreshold), ""},
		"totem.knet_compression_level":        {p.compressionLevel, ""},
		"totem.interface.knet_link_priority":  {number(maxU8, &i.KnetLinkPriority), ""},
		"totem.interface.knet_ping_interval":  {zeroMillis(&i.KnetPingInterval), ""},
		"totem.interface.knet_ping_timeout":   {zeroMillis(&i.KnetPingTimeout), ""},
		"totem.interface.knet_ping_precision": {number(maxU32, &i.KnetPingPrecision), ""},
		"totem.interface.knet_pong_count":     {number(maxU32, &i.KnetPongCount), ""},
		"totem.interface.knet_transport":      {choice(&i.KnetTransport, "udp", "sctp"), ""},
	}
}

func (p *parser) interfaces() map[string]directive {
	i := &p.iface
	return map[string]directive{
		"totem.interface.linknumber":        {number(MaxLinks-1, &i.Link), ""},
		"totem.interface.ringnumber":        {number(MaxLinks-1, &p.ringNumber), ""},
		"totem.interface.bindnetaddr":       {address(&i.BindNetAddr), ""},
		"totem.interface.broadcast":         {p.yesNo(&i.Broadcast), ""},
		"totem.interface.mcastaddr":         {p.multicast, ""},
		"totem.interface.mcastport":         {p.port, ""},
		"totem.interface.ttl":               {number(maxU8, &i.TTL), ""},
		"totem.interface.member.memberaddr": {p.member, ""},
	}
}

func (p *parser) nodes() map[string]directive {
	t := map[string]directive{
		"nodelist.node.nodeid":       {id(&p.node.ID), ""},
		"nodelist.node.name":         {text(&p.node.Name), ""},
		"nodelist.node.quorum_votes": {number(maxVotes, &p.node.Votes), ""},
		"uidgid.uid":                 {another(&p.c.UIDs), ""},
		"uidgid.gid":                 {another(&p.c.GIDs), ""},
	}
	for i := range MaxLinks {
		t[fmt.Sprintf("nodelist.node.ring%d_addr", i)] = directive{text(&p.node.Addrs[i]), ""}
	}
	return t
}

func (p *parser) quorum() map[string]directive {
	q, d := &p.c.Quorum, &p.device
	return map[string]directive{
		"quorum.provider":                 {choice(&q.Provider, "corosync_votequorum"), ""},
		"quorum.expected_votes":           {number(maxVotes, &q.ExpectedVotes), ""},
		"quorum.votes":                    {number(maxVotes, &q.Votes), ""},
		"quorum.two_node":                 {oneZero(&q.TwoNode), ""},
		"quorum.wait_for_all":             {oneZero(&q.WaitForAll), ""},
		"quorum.last_man_standing":        {oneZero(&q.LastManStanding), ""},
		"quorum.last_man_standing_window": {millis(&q.LastManStandingWindow), ""},
		"quorum.auto_tie_breaker":         {oneZero(&q.AutoTieBreaker), ""},
		"quorum.auto_tie_breaker_node":    {p.tieBreaker, ""},
		"quorum.allow_downscale":          {oneZero(&q.AllowDownscale), ""},
		"quorum.expected_votes_tracking":  {oneZero(&q.ExpectedVotesTracking), ""},
		"quorum.leaving_timeout":          {ignored, old},
		"quorum.device.model":             {text(&d.Model), ""},
		"quorum.device.timeout":           {millis(&d.Timeout), ""},
		"quorum.device.sync_timeout":      {millis(&d.SyncTimeout), ""},
		"quorum.device.votes":             {number(maxVotes, &d.Votes), ""},
		"quorum.device.master_wins":       {oneZero(&d.MasterWins), ""},
	}
}

func (p *parser) logging() map[string]directive {
	l := &p.c.Logging
	t := map[string]directive{
		"logging.timestamp":           {choice(&l.Timestamp, "off", "on", "hires"), ""},
		"logging.fileline":            {onOff(&l.FileLine, "on", "off"), ""},
		"logging.function_name":       {onOff(&l.FunctionName, "on", "off"), ""},
		"logging.blackbox":            {onOff(&l.Blackbox, "on", "off"), ""},
		"logging.logging_daemon.name": {ignored, ""},
	}
	logger(t, "logging.", &l.Logger)
	logger(t, "logging.logger_subsys.", &p.logger)
	logger(t, "logging.logging_daemon.", &p.logger)
	delete(t, "logging.subsys")
	return t
}

// logger adds what may be said of a subsystem, or of all. Some things have an older name, too.
func logger(t map[string]directive, section string, l *Logger) {
	switches := []string{"yes", "no", "on", "off"}
	priorities := []string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}
	for name, set := range map[string]setter{
		"subsys":           text(&l.Subsys),
		"to_stderr":        onOff(&l.ToStderr, switches...),
		"to_syslog":        onOff(&l.ToSyslog, switches...),
		"to_logfile":       onOff(&l.ToLogfile, switches...),
		"to_file":          onOff(&l.ToLogfile, switches...),
		"logfile":          text(&l.Logfile),
		"logfile_priority": choice(&l.LogfilePriority, priorities...),
		"syslog_facility":  text(&l.SyslogFacility),
		"syslog_priority":  choice(&l.SyslogPriority, priorities...),
		"syslog_level":     choice(&l.SyslogPriority, priorities...),
		"debug":            choice(&l.Debug, "off", "on", "trace"),
		"tags":             ignored,
	} {
		t[section+name] = directive{set, ""}
	}
}

func (p *parser) transport(value string) error {
	switch t := Transport(value); t {
	case UDP, UDPU, KNET:
		p.c.Totem.Transport = t
		return nil
	}
	return fmt.Errorf("%q must be udp, udpu or knet", shorten(value))
}

// setSecauth refuses what corosync would take for off without a word.
func (p *parser) setSecauth(value string) error {
	if value != "on" && value != "off" {
		return fmt.Errorf("%q must be on or off", shorten(value))
	}
	p.secauth = value == "on"
	return nil
}

func (p *parser) configVersion(value string) error {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		return fmt.Errorf("%q must be a whole number", shorten(value))
	}
	p.c.Totem.ConfigVersion = n
	return nil
}

func (p *parser) compressionLevel(value string) error {
	return whole(math.MinInt32, math.MaxInt32, func(n int64) { p.c.Totem.KnetCompressionLevel = int(n) })(value)
}

func (p *parser) multicast(value string) error {
	var a netip.Addr
	if err := address(&a)(value); err != nil {
		return err
	}
	if !a.IsMulticast() {
		return fmt.Errorf("%s is no multicast address: use one of 239.0.0.0/8 or, with IPv6, of ff00::/8", a)
	}
	p.iface.McastAddr = a
	return nil
}

func (p *parser) port(value string) error {
	return whole(1, maxU16, func(n int64) { p.iface.McastPort = uint16(n) })(value)
}

func (p *parser) member(value string) error {
	if len(p.iface.Members) == MaxNodes {
		return fmt.Errorf("there are more than %d members", MaxNodes)
	}
	p.iface.Members = append(p.iface.Members, value)
	return nil
}

func (p *parser) tieBreaker(value string) error {
	if value != "lowest" && value != "highest" {
		for _, f := range strings.Fields(value) {
			if _, err := strconv.ParseUint(f, 10, 32); err != nil {
				return fmt.Errorf("%q must be lowest, highest, or node ids with spaces between", shorten(value))
			}
		}
	}
	p.c.Quorum.AutoTieBreakerNode = value
	return nil
}

// another adds to a list, each value once.
func another(list *[]string) setter {
	return func(value string) error {
		if value == "" {
			return errors.New("it has no value: give a name or a number")
		}
		if !slices.Contains(*list, value) {
			*list = append(*list, value)
		}
		return nil
	}
}
