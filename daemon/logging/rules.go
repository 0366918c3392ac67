package logging

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
)

// rules tell what is logged: what an enabling rule matches and no disabling one does.
type rules struct{ enable, disable []rule }

// rule is LEVEL, LEVEL+ (and above) or LEVEL- (and below), with an optional category.
type rule struct {
	low, high slog.Level
	category  string
}

func parseRules(o config.Log) (r rules, err error) {
	enable := o.Enable
	if o.Trace {
		enable = append(slices.Clone(enable), "trace+")
	}
	for _, s := range enable {
		p, err := parseRule(s)
		if err != nil {
			return r, fmt.Errorf("--log-enable %q: %w", s, err)
		}
		r.enable = append(r.enable, p)
	}
	for _, s := range o.Disable {
		p, err := parseRule(s)
		if err != nil {
			return r, fmt.Errorf("--log-disable %q: %w", s, err)
		}
		r.disable = append(r.disable, p)
	}
	return r, nil
}

func parseRule(s string) (r rule, err error) {
	text, category, has := strings.Cut(s, ":")
	if has {
		i := slices.IndexFunc(categories, func(c string) bool { return strings.EqualFold(c, category) })
		if i < 0 {
			return r, fmt.Errorf("%q is no category: one of %s", category, strings.Join(categories, ", "))
		}
		r.category = categories[i]
	}
	name := strings.TrimRight(text, "+-")
	for _, l := range levels {
		if l.name != name {
			continue
		}
		r.low, r.high = l.level, l.level
		if strings.HasSuffix(text, "+") {
			r.high = Critical
		} else if strings.HasSuffix(text, "-") {
			r.low = Trace
		}
		return r, nil
	}
	return r, fmt.Errorf("%q is no level: trace, debug, info, notice, warning, error or critical", name)
}

func (r *rule) matches(level slog.Level, category string) bool {
	return level >= r.low && level <= r.high && (r.category == "" || r.category == category)
}

func (r *rules) enabled(level slog.Level, category string) bool {
	hit := func(p rule) bool { return p.matches(level, category) }
	return slices.ContainsFunc(r.enable, hit) && !slices.ContainsFunc(r.disable, hit)
}
