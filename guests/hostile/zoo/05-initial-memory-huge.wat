;; W-05: starts with more memory than any binding may give
;; outcome: refused
;; says: 2000 pages of memory
;; cost: quick

;;@memory
(memory (export "memory") 2000)
