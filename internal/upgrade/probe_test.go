package upgrade

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A probe counts answers of any kind but errors, and does not wait for ever.
func TestProbe(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, "/away", http.StatusFound)
		case "/broken":
			w.WriteHeader(http.StatusInternalServerError)
		case "/silent":
			<-r.Context().Done()
		case "/endless":
			for _, err := w.Write(make([]byte, 1<<16)); err == nil; _, err = w.Write(make([]byte, 1<<16)) {
			}
		}
	}))
	t.Cleanup(srv.Close)
	for path, want := range map[string]string{
		"/": "", "/away": "",
		"/broken":  "/broken: answered with status 500",
		"/silent":  "/silent: no whole answer within 5s",
		"/endless": "/endless: read the answer: no whole answer within 5s",
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			err := probe(t.Context(), []string{srv.URL + "/", srv.URL + path})
			if got := text(err); !strings.HasSuffix(got, want) || want == "" && err != nil {
				t.Errorf("error %q, want %q", got, want)
			}
		})
	}
}
