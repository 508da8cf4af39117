"""Measures what came of the lists: experiments between variants, touch points, and lists before they are shown."""
