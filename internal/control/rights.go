package control

import (
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// decode parses one message as it came, without its descriptors.
func decode(data []byte) (Message, error) {
	var m Message
	if err := json.Unmarshal(data, &m); err != nil {
		return Message{}, fmt.Errorf("decode message: %w", err)
	}
	if m.Kind == "" {
		return Message{}, errors.New("decode message: no kind")
	}
	if len(m.Names) > maxFiles {
		return Message{}, fmt.Errorf("decode message: %d names", len(m.Names))
	}
	return m, nil
}

// parseRights returns the descriptors of a control buffer, also with an error, and the
// process that sent them, if the kernel tells.
func parseRights(oob []byte) (sender int, fds []int, err error) {
	if len(oob) == 0 {
		return 0, nil, nil
	}
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0, nil, fmt.Errorf("parse control data: %w", err)
	}
	for i := range msgs {
		if got, err := unix.ParseUnixRights(&msgs[i]); err == nil {
			fds = append(fds, got...)
		} else if cred, err := unix.ParseUnixCredentials(&msgs[i]); err == nil {
			sender = int(cred.Pid)
		}
	}
	return sender, fds, nil
}
