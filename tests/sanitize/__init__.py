"""The compiled modules under AddressSanitizer and UndefinedBehaviorSanitizer: `make sanitize`."""
