"""The operators' site: pages with acts, for whoever has logged in; metrics and the reasons of readiness."""
