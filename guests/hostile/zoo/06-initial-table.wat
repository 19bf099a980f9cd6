;; W-06: starts with a table of ten million entries
;; outcome: refused
;; says: a table of 10000000 elements
;; cost: quick

;;@module
(table 10000000 funcref)
