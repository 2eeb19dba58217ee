import sys

import jwt  # pip install 'PyJWT[crypto]'


class Assertions:
    def __init__(self, jwks_url, issuer, audience):
        # Keeps the keys for five minutes, and asks again for a key that it does not know.
        self.keys = jwt.PyJWKClient(jwks_url, lifespan=300)
        self.issuer = issuer
        self.audience = audience

    def verify(self, assertion):
        """The claims of X-Vestibule-Assertion; raises jwt.PyJWTError if it is not to be believed."""
        return jwt.decode(
            assertion,
            self.keys.get_signing_key_from_jwt(assertion),
            algorithms=["ES256"],
            issuer=self.issuer,
            audience=self.audience,
            options={"require": ["iss", "aud", "sub", "exp", "nbf"]},
            leeway=10,
        )


if __name__ == "__main__":
    claims = Assertions(*sys.argv[1:4]).verify(sys.stdin.read().strip())
    print(claims["sub"], claims["email"], claims["role"])
