package harness

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Metrics are what a broker tells Prometheus, by families.
type Metrics map[string]*dto.MetricFamily

// Scrape asks a broker as Prometheus does, from its host, and reads the answer with Prometheus' own parser.
func Scrape(ctx context.Context, b *Broker, at string) (Metrics, error) {
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		if b.Host != nil {
			return b.Host.Dial(ctx, address)
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	client := http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(answer.Body) // it says why
		return nil, fmt.Errorf("%s: %s", answer.Status, text)
	}
	p := expfmt.NewTextParser(model.LegacyValidation)
	families, err := p.TextToMetricFamilies(answer.Body)
	return families, err
}

// find is the sample of a name, or of name{label="value"}.
func (m Metrics) find(sample string) *dto.Metric {
	name, want, labelled := strings.Cut(strings.TrimSuffix(sample, "}"), "{")
	for _, x := range m[name].GetMetric() {
		has := !labelled
		for _, l := range x.Label {
			has = has || fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()) == want
		}
		if has {
			return x
		}
	}
	return nil
}

// Value is a sample's value, 0 if there is none.
func (m Metrics) Value(sample string) float64 {
	x := m.find(sample)
	return x.GetGauge().GetValue() + x.GetCounter().GetValue()
}

// Histogram is one of a name, and of label by if that is not empty; nil: there is none.
func (m Metrics) Histogram(name, by string) *dto.Histogram {
	if by != "" {
		name += fmt.Sprintf("{by=%q}", by)
	}
	return m.find(name).GetHistogram()
}

// Check is an error if a sample is not there, or not as it should be.
func (m Metrics) Check(samples map[string]func(float64) bool) error {
	for name, is := range samples {
		if m.find(name) == nil {
			return fmt.Errorf("there is no %s", name)
		}
		if v := m.Value(name); !is(v) {
			return fmt.Errorf("%s is %v", name, v)
		}
	}
	return nil
}
