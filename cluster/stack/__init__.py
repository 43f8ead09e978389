"""The local stack: embedded PostgreSQL and broker, Ray on this machine, and who watches over them."""
