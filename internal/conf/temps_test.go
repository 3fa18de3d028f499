package conf

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTempFoldersOfAConfiguration(t *testing.T) {
	hsl := HTTPServerLocation
	table, err := NewTable(CoreGroup(), Group{Module: "http", Specs: []Spec{
		{Name: "http", In: Main, Block: true, Inner: HTTP},
		{Name: "server", In: HTTP, Block: true, Inner: Server, Repeat: true},
		{Name: "location", In: Server, Min: 1, Max: 1, Block: true, Inner: Location, Repeat: true},
		{Name: "proxy_temp_path", In: hsl, Min: 1, Max: 4, Check: CheckTempPath},
		{Name: "client_body_temp_path", In: hsl, Min: 1, Max: 4, Check: CheckTempPath},
	}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	gateways := []TempFolder{{Path: dir + "/fastcgi_temp"}, {Path: dir + "/uwsgi_temp"}, {Path: dir + "/scgi_temp"}}
	for _, test := range []struct {
		text string
		want []TempFolder
	}{
		{"events {}", nil},
		{"events {} http {}", []TempFolder{{Path: dir + "/client_body_temp"}, {Path: dir + "/proxy_temp"}}},
		{"events {} http { proxy_temp_path /p 1 2; client_body_temp_path b; }", []TempFolder{{dir + "/b", true}, {"/p", true}}},
		{
			"events {} http { server { proxy_temp_path /p; location /a { proxy_temp_path /q; client_body_temp_path /p; } } }",
			[]TempFolder{{Path: dir + "/client_body_temp"}, {"/p", true}, {Path: dir + "/proxy_temp"}, {"/q", true}},
		},
	} {
		file := filepath.Join(dir, "nginx.conf")
		if err := os.WriteFile(file, []byte(test.text), 0o644); err != nil {
			t.Fatal(err)
		}
		c, err := Load(table, Options{Prefix: dir, File: file})
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		if test.want != nil {
			test.want = append(test.want, gateways...)
		}
		if diff := cmp.Diff(test.want, c.Temps); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.text, diff)
		}
	}
}
