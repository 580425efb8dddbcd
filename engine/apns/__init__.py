"""Apple's vocabulary, pure: headers, reasons, outcomes, bearer."""
