package main

import (
	"errors"
	"fmt"
	"syscall"
)

// options is nginx's command line.
type options struct {
	version   bool // -v, and with -V, -h and -?
	configure bool // -V
	help      bool // -h, -?
	test      bool // -t, -T
	dump      bool // -T
	quiet     bool // -q

	signal string // -s: "" or a key of signals
	noWait bool   // --no-wait: of a reload the signal is all

	// nil when not given; nginx tells "-c ''" from no -c.
	prefix, errorLog, conf, globals *string
}

// An option is one of nginx's options. This table is what the parser, the help
// text, the completions and the man page are made from.
type option struct {
	letters string // all that mean it
	arg     string // name of the argument in texts, "" for none
	noun    string // what the error says the option requires
	help    string
	set     func(o *options, arg string) error
}

// signals is what -s takes, and what it sends to the master.
var signals = []struct {
	name string
	sig  syscall.Signal
}{
	{"stop", syscall.SIGTERM},
	{"quit", syscall.SIGQUIT},
	{"reopen", syscall.SIGUSR1},
	{"reload", syscall.SIGHUP},
}

// optionTable returns nginx's options in the order of its help.
func optionTable() []option {
	flag := func(set func(o *options)) func(*options, string) error {
		return func(o *options, _ string) error { set(o); return nil }
	}
	return []option{
		{letters: "?h", help: "this help", set: flag(func(o *options) { o.version, o.help = true, true })},
		{letters: "v", help: "show version and exit", set: flag(func(o *options) { o.version = true })},
		{letters: "V", help: "show version and configure options then exit",
			set: flag(func(o *options) { o.version, o.configure = true, true })},
		{letters: "t", help: "test configuration and exit", set: flag(func(o *options) { o.test = true })},
		{letters: "T", help: "test configuration, dump it and exit",
			set: flag(func(o *options) { o.test, o.dump = true, true })},
		{letters: "q", help: "suppress non-error messages during configuration testing",
			set: flag(func(o *options) { o.quiet = true })},
		{letters: "s", arg: "signal", noun: "parameter",
			help: "send signal to a master process: stop, quit, reopen, reload", set: setSignal},
		{letters: "p", arg: "prefix", noun: "directory name", help: "set prefix path",
			set: func(o *options, a string) error { o.prefix = &a; return nil }},
		{letters: "e", arg: "filename", noun: "file name", help: "set error log file",
			set: func(o *options, a string) error { o.errorLog = &a; return nil }},
		{letters: "c", arg: "filename", noun: "file name", help: "set configuration file",
			set: func(o *options, a string) error { o.conf = &a; return nil }},
		{letters: "g", arg: "directives", noun: "parameter", help: "set global directives out of configuration file",
			set: func(o *options, a string) error { o.globals = &a; return nil }},
	}
}

func setSignal(o *options, arg string) error {
	for _, s := range signals {
		if s.name == arg {
			o.signal = arg
			return nil
		}
	}
	return fmt.Errorf(`invalid option: "-s %s"`, arg)
}

// parseOptions parses args as nginx does, which is not getopt's way: letters
// may be glued in one argument, the argument of the last one follows glued or
// as the next argument (where an empty one counts), "-" alone is nothing, and
// "--" is an invalid option. Errors are in nginx's words.
func parseOptions(args []string) (options, error) {
	byLetter := map[byte]option{}
	for _, opt := range optionTable() {
		for i := range len(opt.letters) {
			byLetter[opt.letters[i]] = opt
		}
	}
	var o options
	for i := 0; i < len(args); i++ {
		letters := args[i]
		if letters == "--no-wait" { // nginx has no such option
			o.noWait = true
			continue
		}
		if letters == "" || letters[0] != '-' {
			return o, fmt.Errorf(`invalid option: "%s"`, letters)
		}
		for letters = letters[1:]; letters != ""; {
			opt, ok := byLetter[letters[0]]
			if !ok {
				return o, fmt.Errorf(`invalid option: "%c"`, letters[0])
			}
			arg, rest := "", letters[1:]
			if opt.arg != "" {
				if arg, rest = rest, ""; arg == "" {
					if i++; i == len(args) {
						return o, fmt.Errorf(`option "-%c" requires %s`, letters[0], opt.noun)
					}
					arg = args[i]
				}
			}
			if err := opt.set(&o, arg); err != nil {
				return o, err
			}
			letters = rest
		}
	}
	if o.noWait && o.signal != "reload" {
		return o, errors.New("--no-wait goes with -s reload")
	}
	return o, nil
}
