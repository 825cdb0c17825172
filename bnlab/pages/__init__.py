"""Pages to be shown to others: studies or a sweep as one HTML file, as Markdown and as CSV, in English or Chinese."""
