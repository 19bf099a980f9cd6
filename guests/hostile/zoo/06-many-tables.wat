;; W-06: a hundred tables
;; outcome: refused
;; says: 100 tables
;; cost: quick

;;@module
;;@times 100 (table 1 funcref)
