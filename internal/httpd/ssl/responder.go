package ssl

import "github.com/baton-deploy/baton/internal/conf"

// askIssuers has the issuers of certificates asked for their answers.
func (in *instance) askIssuers(s *conf.Scope, certs *certificates) error { return nil }
