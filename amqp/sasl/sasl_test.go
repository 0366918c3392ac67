package sasl

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/xdg-go/scram"
)

const testIterations = 4096

// testUsers knows one user, guest with the password secret.
type testUsers struct{}

func (testUsers) Verify(user, password string) bool { return user == "guest" && password == "secret" }

func (testUsers) Scram(user string) (salt, storedKey, serverKey []byte, iterations int, ok bool) {
	client, err := scram.SHA256.NewClient("guest", "secret", "")
	if err != nil {
		panic(err)
	}
	c := client.GetStoredCredentials(scram.KeyFactors{Salt: "salt for " + user, Iters: testIterations})
	return []byte(c.Salt), c.StoredKey, c.ServerKey, c.Iters, user == "guest"
}

func zeros(b []byte) { clear(b) }

func TestMechanisms(t *testing.T) {
	if got := Mechanisms(nil); !slices.Equal(got, []string{"ANONYMOUS", "PLAIN"}) {
		t.Errorf("without users: %v", got)
	}
	if got := Mechanisms(testUsers{}); !slices.Equal(got, []string{"PLAIN", "SCRAM-SHA-256"}) {
		t.Errorf("with users: %v", got)
	}
	for _, users := range []Users{nil, testUsers{}} {
		for _, m := range Mechanisms(users) {
			if _, err := NewServer(m, users, zeros); err != nil {
				t.Errorf("%s is offered but: %v", m, err)
			}
		}
	}
	for _, m := range []string{"", "ANONYMOUS", "plain", "GSSAPI", strings.Repeat("X", 1000)} {
		if _, err := NewServer(m, testUsers{}, zeros); err == nil || len(err.Error()) > 200 {
			t.Errorf("mechanism %q: %v", m, err)
		}
	}
}

func TestPlain(t *testing.T) {
	for _, tc := range []struct {
		name, response, user string
		users                Users
		want                 error // nil with no user: any error but ErrAuthentication
	}{
		{name: "right", response: "\x00guest\x00secret", users: testUsers{}, user: "guest"},
		{name: "same authzid", response: "guest\x00guest\x00secret", users: testUsers{}, user: "guest"},
		{name: "other authzid", response: "admin\x00guest\x00secret", users: testUsers{}},
		{name: "wrong password", response: "\x00guest\x00guest", users: testUsers{}, want: ErrAuthentication},
		{name: "wrong user", response: "\x00nobody\x00secret", users: testUsers{}, want: ErrAuthentication},
		{name: "no user", response: "\x00\x00secret", users: testUsers{}, want: ErrAuthentication},
		{name: "empty", response: "", users: testUsers{}},
		{name: "one NUL", response: "\x00guest", users: testUsers{}},
		{name: "three NULs", response: "\x00guest\x00secret\x00", users: testUsers{}},
		{name: "no UTF-8", response: "\x00guest\x00\xff", users: testUsers{}},
		{name: "long", response: "\x00guest\x00" + strings.Repeat("x", maxResponseBytes), users: testUsers{}},
		{name: "long name", response: "\x00" + strings.Repeat("x", 256) + "\x00", users: testUsers{}},
		{name: "anyone", response: "\x00somebody\x00", user: "somebody"},
		{name: "anyone unnamed", response: "\x00\x00", user: "anonymous"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := NewServer(Plain, tc.users, zeros)
			if err != nil {
				t.Fatal(err)
			}
			if c, done, _, err := s.Step(nil); c == nil || len(c) != 0 || done || err != nil {
				t.Fatalf("no initial response: %q %v %v", c, done, err)
			}
			_, done, user, err := s.Step([]byte(tc.response))
			if done != (tc.user != "") || user != tc.user || (err == nil) != done {
				t.Fatalf("done %v, user %q, %v", done, user, err)
			}
			if !done && errors.Is(err, ErrAuthentication) != (tc.want != nil) {
				t.Fatalf("the wrong error: %v", err)
			}
			if _, done, _, err = s.Step([]byte("\x00guest\x00secret")); done || err == nil {
				t.Fatal("a second try was taken")
			}
		})
	}
}

func TestAnonymous(t *testing.T) {
	s, _ := NewServer(Anonymous, nil, zeros)
	if _, done, user, err := s.Step(nil); !done || user != "anonymous" || err != nil {
		t.Fatal(done, user, err)
	}
	if _, done, _, err := s.Step(make([]byte, maxResponseBytes+1)); done || err == nil {
		t.Fatal("an endless trace was taken")
	}
}

func TestScram(t *testing.T) {
	for _, tc := range []struct {
		user, password, authzid string
		want                    error
	}{
		{user: "guest", password: "secret"},
		{user: "guest", password: "Secret", want: ErrAuthentication},
		{user: "nobody", password: "secret", want: ErrAuthentication},
		{user: "guest", password: "secret", authzid: "admin", want: errAuthzID},
	} {
		s, err := NewServer(ScramSHA256, testUsers{}, zeros)
		if err != nil {
			t.Fatal(err)
		}
		client, err := scram.SHA256.NewClient(tc.user, tc.password, tc.authzid)
		if err != nil {
			t.Fatal(err)
		}
		conversation := client.NewConversation()
		user, err := converse(t, s, conversation)
		if !errors.Is(err, tc.want) {
			t.Errorf("%s/%s: %v", tc.user, tc.password, err)
		}
		if err == nil && (user != tc.user || !conversation.Valid()) {
			t.Errorf("%s/%s: in as %q, server valid %v", tc.user, tc.password, user, conversation.Valid())
		}
	}
}

// converse plays a client against a server that first has to ask.
func converse(t *testing.T, s Server, c *scram.ClientConversation) (string, error) {
	t.Helper()
	challenge, done, user, err := s.Step(nil)
	for !done && err == nil {
		response, clientErr := c.Step(string(challenge))
		if clientErr != nil {
			t.Fatal(clientErr)
		}
		challenge, done, user, err = s.Step([]byte(response))
	}
	if err != nil {
		return "", err
	}
	_, err = c.Step(string(challenge))
	return user, err
}

func TestScramMalformed(t *testing.T) {
	for _, first := range []string{"", "n", "n,,", "n,,n=guest", "p=tls-unique,,n=guest,r=x", "n,,m=x,n=guest,r=x", "n,,n=" + strings.Repeat("x", 300) + ",r=x"} {
		s, _ := NewServer(ScramSHA256, testUsers{}, zeros)
		if _, done, _, err := s.Step([]byte(first)); done || err == nil || errors.Is(err, ErrAuthentication) {
			t.Errorf("%.40q: %v", first, err)
		}
	}
}

func FuzzServer(f *testing.F) {
	f.Add(byte(0), []byte("trace"), []byte(nil))
	f.Add(byte(1), []byte("\x00guest\x00secret"), []byte("\x00guest\x00secret"))
	f.Add(byte(2), []byte("n,,n=guest,r=fyko"), []byte("c=biws,r=fykoAAAA,p=AAAA"))
	f.Fuzz(func(t *testing.T, mechanism byte, first, second []byte) {
		users := Users(testUsers{})
		names := []string{Anonymous, Plain, ScramSHA256}
		name := names[int(mechanism)%len(names)]
		if name == Anonymous {
			users = nil
		}
		s, err := NewServer(name, users, zeros)
		if err != nil {
			t.Fatal(err)
		}
		for _, response := range [][]byte{first, second, second} {
			_, done, user, err := s.Step(response)
			if done && (err != nil || user == "") {
				t.Fatalf("done as %q with %v", user, err)
			}
			if done && users != nil && user != "guest" {
				t.Fatalf("%q is in", user)
			}
			if err != nil {
				return
			}
		}
	})
}
