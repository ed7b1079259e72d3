"""Real ACME clients: certbot, lego, pyacmedns."""
