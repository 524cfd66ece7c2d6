"""DEPLOYMENT: which peer holds what, within an honest ledger of memory."""
