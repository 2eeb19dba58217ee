package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
)

type Person struct {
	Subject string `json:"sub"`
	Email   string `json:"email"`
	Role    string `json:"role"`
}

// NewVerifier is made once: it keeps the keys, and asks again for one that it does not know.
func NewVerifier(ctx context.Context, jwksURL, issuer, audience string) *oidc.IDTokenVerifier {
	return oidc.NewVerifier(issuer, oidc.NewRemoteKeySet(ctx, jwksURL), &oidc.Config{
		ClientID:             audience,
		SupportedSigningAlgs: []string{oidc.ES256},
	})
}

// Verify returns who X-Vestibule-Assertion speaks of, or an error if it is not to be believed.
func Verify(ctx context.Context, verifier *oidc.IDTokenVerifier, assertion string) (person Person, err error) {
	token, err := verifier.Verify(ctx, assertion)
	if err != nil {
		return person, err
	}
	return person, token.Claims(&person)
}

func main() {
	ctx := context.Background()
	assertion, err := io.ReadAll(os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	verifier := NewVerifier(ctx, os.Args[1], os.Args[2], os.Args[3])
	person, err := Verify(ctx, verifier, strings.TrimSpace(string(assertion)))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(person.Subject, person.Email, person.Role)
}
