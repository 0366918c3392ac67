package conf

import "fmt"

// uidgid takes a file of uidgid.d.
type uidgid struct {
	uids, gids []string
	set        map[string]setter
}

// ParseUIDGID reads a file of the directory uidgid.d.
func ParseUIDGID(file string, data []byte) (uids, gids []string, err error) {
	u := &uidgid{}
	u.set = map[string]setter{"uidgid.uid": another(&u.uids), "uidgid.gid": another(&u.gids)}
	err = read(file, data, u)
	return u.uids, u.gids, err
}

func (u *uidgid) known(path string, item bool) bool {
	if item {
		return u.set[path] != nil
	}
	return path == "uidgid"
}

func (u *uidgid) begin(_ int, path string) error {
	if path != "uidgid" {
		return fmt.Errorf("section %q: a file of uidgid.d has sections uidgid, and nothing else", shorten(path))
	}
	return nil
}

func (u *uidgid) item(_ int, section, key, value string) error {
	path := join(section, key)
	set := u.set[path]
	if set == nil {
		return errUIDGID(key)
	}
	if err := set(value); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func (u *uidgid) end(int, string) error { return nil }
