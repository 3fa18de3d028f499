package main

import (
	"bytes"
	"os"
	"strings"
	"time"
)

// localtime is what the time of this machine is by, when no variable says otherwise.
const localtime = "/etc/localtime"

// useRules makes the time of this process that of the variable TZ where Go does not know
// its form: rules such as CET-1CEST,M3.5.0,M10.5.0/3, see tzset(3). It must be called
// before anything tells the time.
func useRules() {
	if tz := os.Getenv("TZ"); tz != "" && !strings.HasPrefix(tz, ":") {
		if zone := zoneOfRules(tz); zone != nil {
			time.Local = zone
		}
	}
}

// zoneOfRules returns the zone of rules, or nil when text is the name of a zone or nothing
// that is known.
func zoneOfRules(text string) *time.Location {
	if _, err := time.LoadLocation(text); err == nil || strings.ContainsAny(text, "/\n") && !strings.Contains(text, ",") {
		return nil
	}
	// Go reads rules at the end of a file of a zone only: one that has nothing else.
	header := func(version byte) []byte {
		b := append([]byte("TZif"), version)
		b = append(b, make([]byte, 15)...)
		// There is one kind of time, whose name has four bytes, and no change of it.
		return append(b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 4)
	}
	kind := append(make([]byte, 6), "UTC\x00"...)
	file := bytes.Join([][]byte{header('2'), kind, header('2'), kind, []byte("\n" + text + "\n")}, nil)
	zone, err := time.LoadLocationFromTZData("Local", file)
	if err != nil || !knowsRules(zone, text) {
		return nil
	}
	return zone
}

// knowsRules reports whether text was understood: then a time has the name of one of its
// kinds, which rules begin with.
func knowsRules(zone *time.Location, text string) bool {
	name, _ := time.Unix(0, 0).In(zone).Zone()
	return name != "UTC" || strings.HasPrefix(text, "UTC")
}

// zoneNow is the zone by which a log that is opened tells the time: that of this process,
// or when no variable names one, what the machine's is by now. It is nil for the first.
func zoneNow(file string) *time.Location {
	if _, ok := os.LookupEnv("TZ"); ok {
		return nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	zone, err := time.LoadLocationFromTZData("Local", data)
	if err != nil {
		return nil
	}
	return zone
}
