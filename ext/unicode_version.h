/* Made by ext/generators/unicode_tables.py: what all tables are of. */

#ifndef EDGEML_UNICODE_VERSION_H
#define EDGEML_UNICODE_VERSION_H

#define EDGEML_UNICODE_VERSION "14.0.0"
#define EDGEML_UNICODE_NUMBER 140000

#endif
